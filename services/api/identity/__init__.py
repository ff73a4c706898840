"""Who asks and what they may do: certificates, tokens, roles, nodes, the reviews that tell. `policies` joins them."""
