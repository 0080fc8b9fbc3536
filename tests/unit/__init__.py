"""The pure layers, the chart and the plugin, against nothing but themselves: seconds."""
