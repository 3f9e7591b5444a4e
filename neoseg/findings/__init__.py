"""Problems with data, a configuration or the machine, and the messages that report them."""
