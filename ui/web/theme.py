"""The look that Gradio's own components take on: the colours of the page, and the fonts that a system has."""

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "PingFang SC", "Microsoft YaHei UI", "Noto Sans CJK SC", "Noto Sans SC",
          "sans-serif")  # fmt: skip
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono", "monospace")

_PINK = gr.themes.Color(
    "#fff3f9", "#ffe4f1", "#ffc9e3", "#fda5cd", "#f57fb5", "#e45b9c", "#c93f83", "#a62f69", "#812655", "#5c1d3e",
    "#3a1428",
)  # fmt: skip
_LILAC = gr.themes.Color(
    "#f8f5ff", "#efe9ff", "#e0d5ff", "#c9b6fd", "#ab8ff5", "#8f6fe0", "#7753c6", "#5f40a3", "#48327b", "#332557",
    "#1f1738",
)  # fmt: skip
_MAUVE = gr.themes.Color(
    "#fdfafd", "#f7f1f7", "#ece2ed", "#dacbdc", "#b3a2b8", "#8d7b95", "#6c5b76", "#4d3f57", "#33283f", "#221a2c",
    "#16111d",
)  # fmt: skip


def build_theme() -> gr.themes.Base:
    """Return the theme; it names no font that would have to be fetched."""
    theme = gr.themes.Base(
        primary_hue=_PINK,
        secondary_hue=_LILAC,
        neutral_hue=_MAUVE,
        radius_size=gr.themes.sizes.radius_lg,
        font=_FONTS,
        font_mono=_MONO,
    )
    return theme.set(
        body_background_fill="#fdf8fc",
        body_background_fill_dark="#16111d",
        body_text_color="#2d2238",
        body_text_color_dark="#f1e9f4",
        background_fill_primary="#fdf8fc",
        background_fill_primary_dark="#16111d",
        border_color_primary="#f3e8f3",
        border_color_primary_dark="#2b2136",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1c1525",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_800",
        input_border_color_focus="*primary_300",
        input_border_color_focus_dark="*primary_600",
        slider_color="*primary_400",
        slider_color_dark="*primary_400",
        button_primary_background_fill="linear-gradient(120deg, *primary_400, *secondary_400)",
        button_primary_background_fill_dark="linear-gradient(120deg, *primary_500, *secondary_500)",
        button_primary_background_fill_hover="linear-gradient(120deg, *primary_500, *secondary_500)",
        button_primary_background_fill_hover_dark="linear-gradient(120deg, *primary_400, *secondary_400)",
        button_primary_text_color="white",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_hover_dark="*neutral_700",
    )
