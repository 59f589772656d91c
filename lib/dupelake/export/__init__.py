"""Results of a warehouse as files of other tools, without Spark or Java. Image files are never touched."""
