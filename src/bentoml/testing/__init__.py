"""For the tests of services and of extensions: the contract checks of every kind of plug-in."""
