"""The main job on embedded defaults: a real shop, a fault in it, and an agent that works through the gate."""
