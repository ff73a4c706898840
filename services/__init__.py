"""The programs: command line, dispatcher, controllers, workers, broker, agents and projector."""
