// Package sim holds KWOK's configuration: how simulated nodes and pods behave.
package sim

import (
	_ "embed"
	"runtime"
	"strings"
)

//go:embed stages.yaml
var stages string

//go:embed metrics.yaml
var metrics string

// imageError is the part of a template that decides, for one container (variable $c),
// whether its image can be pulled, and which error a container runtime reports if not.
// Three stages need it, and KWOK's templates cannot share one.
//
//go:embed image.tmpl
var imageError string

// Configuration returns KWOK's configuration file. It needs no port, because the nodes'
// status has it already. version is the kubelet version that the nodes report.
func Configuration(version string) string {
	return strings.NewReplacer(
		"@imageError@", strings.Join(strings.Fields(imageError), " "),
		"@unpullable@", unpullable,
		"@version@", version,
		"@arch@", runtime.GOARCH,
	).Replace(stages + "---\n" + metrics)
}

// unpullable is a jq expression that has a value if an image of the pod cannot be
// pulled. It must agree with image.tmpl.
const unpullable = `(.metadata.annotations["sim/image"] | select(. == "missing" or . == "unreachable" or . == "denied")), ` +
	`(.spec.containers[].image | select(test(":(missing|does-not-exist)$")))`
