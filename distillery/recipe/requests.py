"""What a recipe asks its services for."""

from distillery.recipe.recipe import Recipe
from distillery.schema.generate import GenerateRequest, PoolSlice


def make_request(
    recipe: Recipe, maker: str, n: int, seed: int, shard: str | None = None, pool_slice: PoolSlice | None = None
) -> GenerateRequest:
    """The request for n structures by the service and options of the source `maker`."""
    source = recipe.sources[maker]
    low, high = source.atoms or (None, None)
    return GenerateRequest(
        n=n,
        seed=seed,
        shard=shard,
        system=source.system,
        elements=source.elements or recipe.elements,
        min_atoms=low,
        max_atoms=high,
        perturb=source.perturb or recipe.perturb,
        pool_slice=pool_slice,
        options=source.options,
    )


def list_makers(recipe: Recipe) -> list[str]:
    """The sources that will be asked for structures, for themselves or in the place of others."""
    owed = recipe.most_owed
    fallbacks = {source.fallback for name, source in recipe.sources.items() if owed[name]}
    return [name for name in recipe.sources if owed[name] or name in fallbacks]


def find_largest(recipe: Recipe, maker: str) -> int:
    """The most structures that one request to a source can be for, in any round and in the place of any other."""
    owed = recipe.most_owed
    budgets = [source.budget(owed[name]) for name, source in recipe.sources.items() if maker in {name, source.fallback}]
    return min(recipe.shard_size, max(budgets))


def has_fallback(recipe: Recipe, service: str) -> bool:
    """Whether the dataset can do without a service: every source of it has a fallback."""
    return all(source.fallback for source in recipe.sources.values() if source.service == service)
