"""Start the coordinator as a Flower ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tacit.server.coordinator.flower import GridRunner, run_coordinator

app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Train the task that `coordinator-config` names."""
    run_coordinator(GridRunner(grid), str(context.run_config["coordinator-config"]))
