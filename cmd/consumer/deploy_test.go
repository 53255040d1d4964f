package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	kubernetesFolder = "../../deploy/kubernetes/"
	secretsFolder    = "/run/secrets/omps-consumer"
	systemdFolder    = "../../deploy/systemd/"

	drain = 10 * time.Second // of the connection to NATS, after intake.grace
	// bridgeEnd is for one publish, an answer to the bus, goodbye to it, and open
	// requests to the ops server.
	bridgeEnd = (10 + 5 + 2 + 2) * time.Second
)

// deployment is how one command of the program is deployed.
type deployment struct {
	manifests    string // folder
	unit, config string
	credentials  []string // of the unit
	ending       func(Config) time.Duration
}

// deployments are those of each command.
var deployments = map[string]deployment{
	"run": {
		manifests: "base/", unit: "omps-consumer.service", config: "config.yaml", credentials: []string{"myorg-password"},
		ending: func(c Config) time.Duration { return c.Intake.Grace + drain },
	},
	"bridge": {
		manifests: "bridge/", unit: "omps-consumer-bridge.service", config: "bridge.yaml", credentials: []string{"bus-ca.crt", "bus.crt", "bus.key"},
		ending: func(Config) time.Duration { return bridgeEnd },
	},
}

// The configurations of the Kubernetes manifests are taken without a warning,
// with a Secret's files as they are mounted.
func TestKubernetesConfiguration(t *testing.T) {
	t.Parallel()
	for command, d := range deployments {
		c := kubernetesConfig(t, d.manifests)
		if len(c.Warnings) > 0 {
			t.Errorf("%s: warnings: %q", command, c.Warnings)
		}
		if isLoopback(c.Ops.Listen) {
			t.Errorf("%s: no probe can reach %s", command, c.Ops.Listen)
		}
		if isBridge := command == "bridge"; isBridge != (len(c.Bridge.Sources) > 0) || isBridge == (len(c.Organizations) > 0) {
			t.Errorf("%s: %d buses and %d organizations", command, len(c.Bridge.Sources), len(c.Organizations))
		}
	}
}

// What the Deployments say about time, memory and addresses agrees with the
// configuration and the program.
func TestKubernetesDeployment(t *testing.T) {
	t.Parallel()
	for command, d := range deployments {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			c, pod := kubernetesConfig(t, d.manifests), kubernetesPod(t, d.manifests)
			container := pod.Containers[0]
			checkProbes(t, c, container)
			if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < d.ending(c) {
				t.Errorf("the pod is killed after %s, and ending may take %s", grace, d.ending(c))
			}
			limit := container.Resources.Limits.Memory().Value()
			if container.Env[0].Name != "GOMEMLIMIT" {
				t.Fatalf("%+v", container.Env)
			}
			checkMemory(t, c, limit, container.Env[0].Value)
		})
	}
}

// checkProbes asks what a container's probes ask.
func checkProbes(t *testing.T, c Config, container corev1.Container) {
	t.Helper()
	_, port, _ := strings.Cut(c.Ops.Listen, ":")
	if want := fmt.Sprint(container.Ports[0].ContainerPort); port != want {
		t.Errorf("it listens on port %s, the container has %s", port, want)
	}
	handler := opsHandler(opsParts{metrics: newRegistry(), ready: func() error { return nil }})
	for what, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, probe.HTTPGet.Path, nil))
		if answer.Code != http.StatusOK {
			t.Errorf("%s: %s answers %d", what, probe.HTTPGet.Path, answer.Code)
		}
	}
	if patience := time.Duration(container.StartupProbe.PeriodSeconds*container.StartupProbe.FailureThreshold) * time.Second; patience <= authoritiesTimeout {
		t.Errorf("a start may take %s, and CA_URL alone %s", patience, authoritiesTimeout)
	}
}

// The configurations beside the systemd units are taken without a warning where
// the unit puts its files, and the unit gives the time and memory that it needs.
func TestSystemdConfiguration(t *testing.T) {
	t.Parallel()
	for command, d := range deployments {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			unit := readUnit(t, d.unit)
			c := systemdConfig(t, d, unit)
			if want := "/usr/bin/consumer " + command + " -c /etc/omps-consumer/" + d.config; unit["ExecStart"] != want {
				t.Errorf("it starts %s, want %s", unit["ExecStart"], want)
			}
			if stop, err := time.ParseDuration(unit["TimeoutStopSec"]); err != nil || stop < d.ending(c) {
				t.Errorf("%v: it is killed after %s, and ending may take %s", err, stop, d.ending(c))
			}
			limit, err := strconv.ParseInt(strings.TrimSuffix(unit["MemoryMax"], "M"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			checkMemory(t, c, limit<<20, strings.TrimPrefix(unit["Environment"], "GOMEMLIMIT="))
		})
	}
}

// The unit of the service makes the folder of its NATS server, which is the one
// that the bridge on the same machine finds; both can run there.
func TestSystemdTogether(t *testing.T) {
	t.Parallel()
	run, bridging := deployments["run"], deployments["bridge"]
	unit := readUnit(t, run.unit)
	service, bridge := systemdConfig(t, run, unit), systemdConfig(t, bridging, readUnit(t, bridging.unit))
	if got, want := service.NATS.Embedded.StoreDir.Path, "/var/lib/"+unit["StateDirectory"]; got != want {
		t.Errorf("the store is at %s, and the unit makes %s", got, want)
	}
	if bridge.NATS.address() != service.NATS.address() {
		t.Errorf("the bridge looks for NATS at %s, which is at %s", bridge.NATS.address(), service.NATS.address())
	}
	if bridge.Ops.Listen == service.Ops.Listen {
		t.Errorf("both listen on %s", bridge.Ops.Listen)
	}
}

// readUnit is the last value of each setting of a unit.
func readUnit(t *testing.T, name string) map[string]string {
	t.Helper()
	unit := make(map[string]string)
	for line := range strings.Lines(mustRead(t, systemdFolder+name)) {
		if key, value, isSetting := strings.Cut(strings.TrimSpace(line), "="); isSetting && !strings.HasPrefix(line, "#") {
			unit[key] = value
		}
	}
	return unit
}

// systemdConfig is a configuration with its credentials where the unit puts them.
func systemdConfig(t *testing.T, d deployment, unit map[string]string) Config {
	t.Helper()
	prefix, _, _ := strings.Cut(unit["LoadCredential"], ":")
	files := make(map[string]string)
	for file, text := range secretFiles(t) {
		if slices.Contains(d.credentials, file) {
			files[prefix+"_"+file] = text
		}
	}
	vars := map[string]string{"CREDENTIALS_DIRECTORY": writeFiles(t, files)}
	c, err := ParseConfig(d.config, []byte(mustRead(t, systemdFolder+d.config)), environment(vars))
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("%s: %v, warnings: %q", d.config, err, c.Warnings)
	}
	return c
}

// checkMemory holds memory against what the README's section on performance says.
func checkMemory(t *testing.T, c Config, limit int64, goLimit string) {
	t.Helper()
	if inFlight := int64(c.Limits.InFlightBytes); len(c.Organizations) > 0 && limit < 2*inFlight {
		t.Errorf("the limit is %d bytes, which is less than twice limits.in_flight_bytes, %d", limit, inFlight)
	}
	mebibytes, err := strconv.ParseInt(strings.TrimSuffix(goLimit, "MiB"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if nine := float64(limit) * 0.9; math.Abs(float64(mebibytes<<20)-nine) > 1<<20 {
		t.Errorf("GOMEMLIMIT is %s, and nine tenths of the limit are %.0f MiB", goLimit, nine/(1<<20))
	}
}

// secretFiles are one of each kind that a configuration names.
func secretFiles(t *testing.T) map[string]string {
	t.Helper()
	authority, cert, key := signedPair(t)
	return map[string]string{
		"nats.creds": "x", "myorg-password": "x", "nats-ca.crt": authority, "bus-ca.crt": authority, "bus.crt": cert, "bus.key": key,
	}
}

// kubernetesConfig is the configuration with the files of the Secret in a folder
// of the test.
func kubernetesConfig(t *testing.T, folder string) Config {
	t.Helper()
	text := strings.ReplaceAll(mustRead(t, kubernetesFolder+folder+"config.yaml"), secretsFolder, writeFiles(t, secretFiles(t)))
	c, err := ParseConfig("config.yaml", []byte(text), none)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kubernetesPod(t *testing.T, folder string) corev1.PodSpec {
	t.Helper()
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(mustRead(t, kubernetesFolder+folder+"deployment.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec
}
