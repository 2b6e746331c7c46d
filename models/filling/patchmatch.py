from dataclasses import dataclass
@dataclass(frozen=True)
class PatchMatchOptions:
    seed: int = 0
def fill_patchmatch(*a): raise NotImplementedError
