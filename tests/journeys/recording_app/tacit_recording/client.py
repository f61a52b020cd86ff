"""Forward one round from a SuperNode to the gateway beside it."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from tacit.server.gateway.flower import forward_round

app = ClientApp()


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Run the round at the gateway whose socket the node's configuration names."""
    return forward_round(message, str(context.node_config["gateway-socket"]))
