module azd

go 1.26.0

require github.com/azure/azure-dev/cli/azd v1.23.13
