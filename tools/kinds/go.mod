// Kinds of other projects, as their modules carry them: what the chart and the operator make of these kinds is tried against them.
module environment-manager/tools/kinds

go 1.26.0

require (
	github.com/external-secrets/external-secrets v1.3.2
	github.com/hashicorp/vault-secrets-operator v0.10.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
