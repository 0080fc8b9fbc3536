module baas-lab/pause

go 1.25.0
