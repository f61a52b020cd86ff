"""Name the products of the generated population, so that recommendations read well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_QUALITIES = (
    *("Amber", "Ash", "Birch", "Bright", "Calm", "Cedar", "Clay", "Cloud"),
    *("Copper", "Coral", "Dawn", "Drift", "Dune", "Ember", "Fern", "Flint"),
    *("Frost", "Harbour", "Hazel", "Indigo", "Ivory", "Juniper", "Lantern", "Linen"),
    *("Maple", "Meadow", "Mist", "Moss", "North", "Oak", "Ochre", "Olive"),
    *("Opal", "Pebble", "Pine", "River", "Sage", "Slate", "Willow", "Winter"),
)

_PRODUCTS: dict[str, tuple[str, ...]] = {
    "Kitchen": ("Kettle", "Skillet", "Teapot", "Bread Knife", "Mixing Bowl", "Grinder"),
    "Garden": ("Trowel", "Planter", "Watering Can", "Bird Feeder", "Secateurs", "Herb Kit"),
    "Outdoors": ("Tent", "Backpack", "Camp Stove", "Sleeping Bag", "Head Torch", "Trail Shoes"),
    "Reading": ("Novel", "Atlas", "Book Light", "Notebook", "Poetry Collection", "Bookends"),
    "Music": ("Headphones", "Turntable", "Ukulele", "Speaker", "Metronome", "Record Shelf"),
    "Home": ("Throw Blanket", "Floor Lamp", "Wool Rug", "Candle", "Wall Clock", "Cushion"),
    "Sport": ("Yoga Mat", "Kettlebell", "Skipping Rope", "Swim Goggles", "Racket", "Foam Roller"),
    "Crafts": ("Sketchbook", "Watercolours", "Knitting Kit", "Clay Set", "Loom", "Fountain Pen"),
    "Travel": ("Suitcase", "Packing Cubes", "Neck Pillow", "Passport Case", "Day Bag", "Flask"),
    "Wardrobe": ("Rain Jacket", "Cardigan", "Scarf", "Canvas Shoes", "Felt Hat", "Work Shirt"),
    "Toys": ("Puzzle", "Wooden Train", "Kite", "Building Blocks", "Card Game", "Spinning Top"),
    "Gadgets": ("E-Reader", "Smart Plug", "Action Camera", "Power Bank", "Keyboard", "Desk Fan"),
}

CATEGORIES: tuple[str, ...] = tuple(_PRODUCTS)


def product_titles(categories: Sequence[int], seed: int) -> tuple[str, ...]:
    """Give each item a distinct readable title of its category, for example `Cedar Kettle`.

    Args:
        categories: index into `CATEGORIES` of each item.
        seed: seed of the population.
    """
    rng = np.random.default_rng([seed, 1])
    shelves: dict[int, list[str]] = {}
    for index, name in enumerate(CATEGORIES):
        pairs = [f"{quality} {noun}" for quality in _QUALITIES for noun in _PRODUCTS[name]]
        shelves[index] = [pairs[position] for position in rng.permutation(len(pairs))]
    used = dict.fromkeys(shelves, 0)
    titles: list[str] = []
    for category in categories:
        edition, position = divmod(used[category], len(shelves[category]))
        used[category] += 1
        title = shelves[category][position]
        titles.append(f"{title} No. {edition + 1}" if edition else title)
    return tuple(titles)
