"""A rigid-body stepper built for one scene: same contacts, joints and solver order as Kinetix, without its padding."""
