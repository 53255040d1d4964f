package koji

import (
	"errors"
	"fmt"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// faultGeneric is the code of koji.GenericError, which stands for many things.
const faultGeneric = 1000

// Fault is the hub's own no, which comes with HTTP status 200. Koji's
// koji/__init__.py lists the codes.
type Fault struct {
	Code    int
	Message string // one printable, bounded line
}

func (e *Fault) Error() string { return fmt.Sprintf("fault %d: %s", e.Code, e.Message) }

// Class is Transient: hubs go offline, restart, and lose their database.
func (e *Fault) Class() pipeline.Class { return pipeline.Transient }

// Reason is ReasonBuildNotFound where the hub cannot read the NVR that it was
// asked for, as no build has such a name, else ReasonKojiUnavailable.
func (e *Fault) Reason() pipeline.Reason {
	if e.Code == faultGeneric && strings.HasPrefix(e.Message, "invalid format") {
		return pipeline.ReasonBuildNotFound
	}
	return pipeline.ReasonKojiUnavailable
}

// readFault is the error in the value of a fault.
func readFault(value any) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return errors.New("fault is not a struct")
	}
	code, ok := number(fields, "faultCode")
	if !ok {
		return errors.New("fault has no code")
	}
	return &Fault{Code: int(code), Message: clients.OneLine(text(fields, "faultString"), maxMessage)}
}
