"""Pictures of a run: Bokeh, SVG and text; they do not know each other."""
