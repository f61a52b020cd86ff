"""A first recommendation, offline: open a profile, track, recommend, explain, forget.

    python examples/first_recommendation.py

Runs in a second or two and opens no socket. Everything the user does is encrypted on this machine;
nothing leaves it. `Personalizer.sync` is what would fetch a trained model and, with consent, add
one bounded vector to a noised sum; here the model is made up on the spot.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tacit.client import Catalogue, Decision, FileKeyProvider, Personalizer
from tacit.client.installed import InstalledRelease
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.release import ReleaseManifest

ITEMS = [
    ("kettle", "Copper kettle", ["Kitchen"]),
    ("teapot", "Stoneware teapot", ["Kitchen"]),
    ("tin", "Tea tin", ["Kitchen"]),
    ("lamp", "Brass desk lamp", ["Study"]),
    ("chair", "Oak reading chair", ["Study"]),
    ("rake", "Garden rake", ["Garden"]),
    ("hose", "Rubber garden hose", ["Garden"]),
]


def main() -> None:
    catalogue = Catalogue.build(ITEMS)
    with tempfile.TemporaryDirectory() as folder:
        path, keys = Path(folder, "profile.db"), FileKeyProvider(Path(folder, "device.key"))
        # Without exploration, so that the output is the same each time.
        with Personalizer.open(path, keys, catalogue, exploration=None) as pz:
            show("With nothing known", pz, pz.recommend(k=3))

            pz.track("Product Viewed", {"product_id": "kettle"}, event_id="visit-1")
            pz.track("Product Added", {"product_id": "tin"}, event_id="visit-2")
            show("After a look around, no model yet", pz, pz.recommend(k=3))

            install_made_up_model(pz, catalogue)
            show("With a model", pz, pz.recommend(k=3))

            pz.consent("decide", ["add_to_cart"], False)
            show("Having refused that carts are used", pz, pz.recommend(k=3))

            state = pz.state()
            print(
                f"\nThis device holds {state.events} events, has contributed to {state.rounds} "
                f"rounds (epsilon {state.epsilon:g}), and may teach the shared model from "
                f"{len(state.consents['learn'])} signals."
            )
            forgotten = pz.forget(all=True)
            print(f"Forgotten: {forgotten.rows_erased} records and the key that opened them.")


def show(heading: str, pz: Personalizer, decision: Decision) -> None:
    print(f"\n{heading}:")
    for item in decision.items:
        print(f"  {item.title:20} {pz.explain(decision.id, item.item_id).text}")


def install_made_up_model(pz: Personalizer, catalogue: Catalogue) -> None:
    """Install a model without its proofs; a real device only takes one that `sync` verified."""
    kitchen = np.array([1.0 if "Kitchen" in item.categories else -0.6 for item in catalogue.items])
    popularity = np.full(len(catalogue), 1 / len(catalogue))
    blob = pack_arrays(
        {
            "popularity": popularity,
            "loadings": (0.05 * kitchen)[:, np.newaxis],
            "prior_variance": np.ones(1),
            "item_variance": popularity,
        }
    )
    manifest = ReleaseManifest(
        population="example",
        version=1,
        task_sha256="0" * 64,
        model_sha256="0" * 64,
        model_bytes=len(blob),
        catalogue_sha256=catalogue.digest.hex(),
        reservations=("none",),
        epsilon=1.0,
        target_delta=1e-5,
        created_at_ms=0,
    )
    pz.releases.put(InstalledRelease(manifest, blob))
    pz.reload()


if __name__ == "__main__":
    main()
