from tests.service import Service


async def test_a_created_experiment_can_be_read(service: Service) -> None:
    created = await service.create_experiment()

    assert await service.read(f"/experiments/{created['id']}/") == created
