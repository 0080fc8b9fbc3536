"""Pictures of the dashboards (docs/monitoring.md): what a real Prometheus has of a backend on the lab while something happens to it.

The panels' own queries are asked, so a picture proves, too, that a dashboard asks for what there is. What was drawn is kept beside the
pictures, from which they are drawn again without a lab.
"""
