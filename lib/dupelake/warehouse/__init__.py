"""Tables, their columns, and how they are written: the only room that knows Delta."""
