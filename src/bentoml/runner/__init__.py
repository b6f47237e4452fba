"""The compute half: runnables, runners, batching, engines and the placements through which engines are reached."""
