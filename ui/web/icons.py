"""The few line icons of the page, drawn on a grid of 24, in the colour of the text around them."""

_PATHS = {
    "copy": '<rect x="9" y="9" width="11" height="11" rx="2.5"/><path d="M5 15V6.5A2.5 2.5 0 0 1 7.5 4H15"/>',
    "speak": '<path d="M4 9.5v5h3.5L12 19V5L7.5 9.5H4z"/><path d="M15.5 9a4.2 4.2 0 0 1 0 6"/>',
    "sound": '<path d="M4 9.5v5h3.5L12 19V5L7.5 9.5H4z"/><g class="waves"><path d="M15.5 9a4.2 4.2 0 0 1 0 6"/>'
    '<path d="M18 6.5a8 8 0 0 1 0 11"/></g><path class="off" d="m16 9.5 5 5m0-5-5 5"/>',
    "retry": '<path d="M20 11a8 8 0 1 0-2.3 6.3"/><path d="M20 4.5V11h-6.5"/>',
    "undo": '<path d="M9 14 4 9l5-5"/><path d="M4 9h10a6 6 0 0 1 0 12h-3"/>',
    "edit": '<path d="M4 20h4L19 9a2.8 2.8 0 0 0-4-4L4 16v4z"/><path d="m13.5 6.5 4 4"/>',
    "new-chat": '<path d="M12 5v14M5 12h14"/>',
    "settings": '<path d="M4 7h9m6 0h1M4 17h1m6 0h9"/><circle cx="16" cy="7" r="2.5"/><circle cx="8" cy="17" r="2.5"/>',
    "close": '<path d="M6 6l12 12M18 6 6 18"/>',
    "delete": '<path d="M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7"/>',
    "restore": '<path d="M4 12a8 8 0 1 0 2.3-5.6"/><path d="M4 4v5h5"/>',
}


def icon(name: str) -> str:
    """Return an icon as SVG."""
    return (
        '<svg viewBox="0 0 24 24" width="18" height="18" fill="none" stroke="currentColor" stroke-width="1.7" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{_PATHS[name]}</svg>'
    )
