"""A scriptable MTA and scriptable milters: the test tools, the samples and the tests are made of them."""
