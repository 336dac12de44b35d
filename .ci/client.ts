// Typical calls of a frontend, with a client generated from /openapi.json. It has to compile.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Experiment = components["schemas"]["ExperimentRead"];
type ErrorBody = components["schemas"]["ErrorBody"];

const client = createClient<paths>({
  baseUrl: "http://127.0.0.1:8000",
  headers: { Authorization: "Bearer phx_" },
});
const project = { project_id: "@current" } as const;

export async function firstNames(): Promise<string[]> {
  const { data } = await client.GET("/api/projects/{project_id}/experiments/", {
    params: { path: project, query: { limit: 10, status: "running", order: "-created_at" } },
  });
  return data?.results.map((experiment: Experiment) => experiment.name) ?? [];
}

export async function create(): Promise<Experiment> {
  const { data, error } = await client.POST("/api/projects/{project_id}/experiments/", {
    params: { path: project },
    body: {
      name: "Checkout button",
      feature_flag_key: "checkout-button",
      filters: { insight: "FUNNELS", events: [{ id: "$pageview", order: 0, type: "events" }] },
    },
  });
  if (error !== undefined) throw new Error((error satisfies ErrorBody).detail);
  return data;
}

export async function launch(experiment: Experiment, tag: string): Promise<string | null> {
  const { data } = await client.PATCH("/api/projects/{project_id}/experiments/{experiment_id}/", {
    params: { path: { ...project, experiment_id: experiment.id }, header: { "If-Match": tag } },
    body: { start_date: "2022-11-01T00:00:00Z" },
  });
  return data?.start_date ?? null;
}

export async function verdict(experiment: Experiment): Promise<number> {
  const { data } = await client.GET("/api/projects/{project_id}/experiments/{experiment_id}/results/", {
    params: { path: { ...project, experiment_id: experiment.id } },
  });
  if (data === undefined) return 0;
  if ("expected_loss" in data) {
    return data.variants.reduce((sum, variant) => sum + variant.success_count, 0);
  }
  return data.p_value + (data.probability["test"] ?? 0) + (data.credible_intervals["test"]?.[0] ?? 0);
}
