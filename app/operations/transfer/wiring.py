"""Builds what creates the experiments of an export in a project."""

from functools import partial

from app.db.database import Database
from app.db.models import Project, User
from app.experiments.dependencies import build_experiments
from app.flags.dependencies import build_flags
from app.operations.transfer.experiments import ExperimentImport


def build_experiment_import(database: Database, project: Project, user: User) -> ExperimentImport:
    return ExperimentImport(
        database,
        user,
        partial(build_flags, project_id=project.id),
        partial(build_experiments, project_id=project.id),
    )
