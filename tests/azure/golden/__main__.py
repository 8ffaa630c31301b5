from tests.azure.golden import write

write()
