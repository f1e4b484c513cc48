"""Random programs of tasks, actors and objects, and the model that says what they may observe."""
