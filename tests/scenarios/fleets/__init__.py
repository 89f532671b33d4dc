"""Random fleets with a known truth. It shares no code with the product or with the sample's generator."""
