"""Small tables in memory that run the DataFrame programs of the stages without Spark and without Java."""
