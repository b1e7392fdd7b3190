"""Look up the organization, the stack and the images that a render URL names."""

from collections.abc import Mapping
from typing import Any

from django.core.cache import cache as memory

from organizations.errors import OrganizationNotFound
from organizations.models import Organization
from organizations.options import RENDER_ORG_FALLBACK
from rendering import pool
from rendering.cache import memory_draft
from rendering.contents import StackContent
from rendering.errors import StackNotFound, UnreadableSource
from rendering.grammar import ImageReference
from rendering.models import Stack
from rendering.operations.remote import remote_image, remote_url
from rendering.resolve import Source
from sourceimages import stored_files
from sourceimages.errors import ImageNotFound
from sourceimages.formats import RENDERABLE
from sourceimages.models import Alias, SourceImage, StoredFile

ENTROPY_CACHE_SECONDS = 30 * 86_400
AREAS = ("subject_area", "crop_area")
SIDES = {"x": 0, "width": 0, "y": 1, "height": 1}  # of an area, by the side of the image they are measured along


class RowLookup:
    """The stacks and images of one organization. It remembers the files of the images that were looked up."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.files: dict[str, StoredFile] = {}  # by content hash
        self.orientations: dict[str, Any] = {}  # EXIF orientation by content hash, if known
        self.protected_parts = False  # whether a base or secondary stack, a secondary image or a font is protected

    def stack(self, name: str) -> StackContent:
        stack = self.stack_row(name)
        self.protected_parts |= stack.protected
        return stack.content

    def stack_row(self, name: str) -> Stack:
        stack = self.organization.stacks.filter(name=name).first()
        if stack is None:
            raise StackNotFound(f"No stack {name[:80]!r} in {self.organization.name!r}.")
        return stack

    def image(self, hash: str) -> Source:
        image = find_image(self.organization, hash)
        self.protected_parts |= image.protected
        return self.source(image)

    def source(self, image: SourceImage) -> Source:
        """What rendering needs to know of the image."""
        file = image.file
        self.files[file.content_hash] = file
        if file.content_hash not in self.orientations:
            self.orientations[file.content_hash] = (file.static_metadata.get("exif") or {}).get("orientation")
        return source(image, self.orientations[file.content_hash])

    def entropy(self, source: Source) -> float | None:
        """The entropy of the image, measured by a render worker at 256 pixels, and cached."""
        if source.format not in RENDERABLE:
            return None
        key = f"entropy:{source.content_hash}"
        found = memory.get(key)
        if found is None:
            found = _measure_entropy(source, self.files[source.content_hash])
            memory.set(key, found, ENTROPY_CACHE_SECONDS)
        return float(found)


def _measure_entropy(source: Source, file: StoredFile) -> float:
    resize = {"name": "resize", "options": {"width": 256, "height": 256, "mode": "box", "upscale": False}, "dpr": 1}
    with pool.admission(), stored_files.local_file(file) as path, memory_draft() as target:
        recipe = {
            "source": {"path": str(path), "format": source.format},
            "operations": [resize],
            "output": {"format": "entropy"},
        }
        answer, _ = pool.render(recipe, target, heavy=False)
        if "error" in answer:
            raise UnreadableSource(answer["message"])
        target.seek(0)
        return float(target.read())


def find_organization(name: str) -> Organization:
    """Raises OrganizationNotFound."""
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise OrganizationNotFound(name)
    return organization


def find_image(organization: Organization, hash: str) -> SourceImage:
    """The active image with this hash or short hash, or that of the fallback organization. Raises ImageNotFound."""
    image = organization.images.active().select_related("file").by_hash(hash).first()
    if image is None and (fallback := organization.options.get(RENDER_ORG_FALLBACK)):
        others = SourceImage.objects.filter(organization__name=fallback)
        image = others.active().select_related("file").by_hash(hash).first()
    if image is None:
        raise ImageNotFound(f"No image {hash[:80]!r} in {organization.name!r}.")
    return image


def find_referenced(organization: Organization, reference: ImageReference, options: Mapping[str, Any]) -> SourceImage:
    """The image that a URL names by its hash or an alias, or a remote image, as the options of the stack allow.

    Raises ImageNotFound, RemoteImageUnavailable.
    """
    match reference.kind:
        case "hash":
            return find_image(organization, reference.value)
        case "alias":
            alias = Alias.objects.filter(organization=organization, alias=reference.value).first()
            if alias is None:
                raise ImageNotFound(f"No alias {reference.value[:80]!r} in {organization.name!r}.")
            return find_image(organization, alias.hash)
    return remote_image(organization, remote_url(reference.value, {**organization.options, **options}))


def requires_signature(organization: Organization, stack: Stack | None, image: SourceImage) -> bool:
    """Return whether the URL must be signed because of what it names. See also `RowLookup.protected_parts`."""
    if image.protected:
        return True
    if stack is None:
        return bool(organization.options.get("protect_dynamic_stack"))
    return stack.protected


def source(image: SourceImage, orientation: Any) -> Source:
    """What rendering needs to know of the image. `orientation` is the value in its metadata."""
    file, dynamic = image.file, image.dynamic_metadata
    return Source(
        hash=image.hash,
        content_hash=file.content_hash,
        format=file.format,
        width=file.width,
        height=file.height,
        animated=file.animated,
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        areas=_areas(dynamic, file.width, file.height),
        user_metadata=image.user_metadata,
    )


def _areas(dynamic_metadata: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """The areas of the image in stored pixels; named ones below `multi_areas`."""
    size = (width, height)
    found = {name: _area(dynamic_metadata[name], size) for name in AREAS if dynamic_metadata.get(name)}
    named = {
        name: _area(next(iter(kinds.values())), size)
        for name, kinds in (dynamic_metadata.get("multi_areas") or {}).items()
    }
    return found | ({"multi_areas": named} if named else {})


def _area(area: Mapping[str, Any], size: tuple[int, int]) -> dict[str, float]:
    """The area in pixels; stored ones can be percentages."""
    percentage = area.get("percentage", False)
    return {name: area[name] * size[side] / 100 if percentage else area[name] for name, side in SIDES.items()}
