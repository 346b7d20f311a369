"""The local cloud's blueprint: records the Pulumi program, checks its graph, applies it."""
