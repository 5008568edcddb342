"""The start pipeline: steps between milestones, ordered by declaration, each with its own undo."""
