// Package validate checks requests against the field rules of the contract without a daemon. That it links
// shows that the generated code and protovalidate share one copy of buf.validate.
package validate

import (
	"errors"
	"testing"

	"buf.build/go/protovalidate"

	gantry "github.com/gantry-dev/gantry/clients/go/gantry/v1"
)

func deploy(port int32) *gantry.DeployAppRequest {
	return &gantry.DeployAppRequest{App: &gantry.App{
		Name: "namespaces/default/apps/web",
		Spec: &gantry.AppSpec{Image: "web:1.0", Ports: []*gantry.Port{{Name: "http", Number: port}}},
	}}
}

func TestAValidRequestHasNoViolation(t *testing.T) {
	if err := protovalidate.Validate(deploy(8080)); err != nil {
		t.Error(err)
	}
}

func TestAViolationNamesItsField(t *testing.T) {
	err := protovalidate.Validate(deploy(70000))
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) || len(invalid.Violations) != 1 {
		t.Fatalf("want one violation, got: %v", err)
	}
	violation := invalid.Violations[0].Proto
	if field := protovalidate.FieldPathString(violation.GetField()); field != "app.spec.ports[0].number" {
		t.Errorf("want the port's number, got %s", field)
	}
	if rule := violation.GetRuleId(); rule != "int32.gte_lte" {
		t.Errorf("want the rule about both ends, got %s", rule)
	}
}
