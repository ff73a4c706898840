"""The programs: command line, supervisor, dispatcher, workers, projector, historian, API and agents."""
