"""The guest side: the agent's client, its wire protocol, and the initramfs that carries it."""
