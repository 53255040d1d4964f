package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	kubernetesBase = "../../deploy/kubernetes/base/"
	secretsFolder  = "/run/secrets/omps-consumer"
	systemdFolder  = "../../deploy/systemd/"

	drain = 10 * time.Second // of the connection to NATS, after intake.grace
)

// The configuration of the Kubernetes manifests is taken without a warning, with
// a Secret's files as they are mounted.
func TestKubernetesConfiguration(t *testing.T) {
	t.Parallel()
	c := kubernetesConfig(t)
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	if isLoopback(c.Ops.Listen) {
		t.Errorf("no probe can reach %s", c.Ops.Listen)
	}
}

// What the Deployment says about time, memory and addresses agrees with the
// configuration and the program.
func TestKubernetesDeployment(t *testing.T) {
	t.Parallel()
	c, pod := kubernetesConfig(t), kubernetesPod(t)
	container := pod.Containers[0]

	_, port, _ := strings.Cut(c.Ops.Listen, ":")
	if want := fmt.Sprint(container.Ports[0].ContainerPort); port != want {
		t.Errorf("the service listens on port %s, the container has %s", port, want)
	}
	handler := opsHandler(opsParts{metrics: newRegistry(), ready: func() error { return nil }, health: newHealth(t.Context(), healthChecks{}, time.Second)})
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

	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < c.Intake.Grace+drain {
		t.Errorf("the pod is killed after %s, and ending may take %s", grace, c.Intake.Grace+drain)
	}

	limit := container.Resources.Limits.Memory().Value()
	if container.Env[0].Name != "GOMEMLIMIT" {
		t.Fatalf("%+v", container.Env)
	}
	checkMemory(t, c, limit, container.Env[0].Value)
}

// The configuration beside the systemd unit is taken without a warning where the
// unit puts its files, and the unit gives it the time and memory that it needs.
func TestSystemdConfiguration(t *testing.T) {
	t.Parallel()
	unit := make(map[string]string) // the last value of each setting
	for line := range strings.Lines(mustRead(t, systemdFolder+"omps-consumer.service")) {
		if key, value, isSetting := strings.Cut(strings.TrimSpace(line), "="); isSetting && !strings.HasPrefix(line, "#") {
			unit[key] = value
		}
	}
	credential, _, _ := strings.Cut(unit["LoadCredential"], ":")
	vars := map[string]string{"CREDENTIALS_DIRECTORY": writeFiles(t, map[string]string{credential + "_myorg-password": "x"})}
	c, err := ParseConfig("config.yaml", []byte(mustRead(t, systemdFolder+"config.yaml")), environment(vars))
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("%v, warnings: %q", err, c.Warnings)
	}
	if got, want := c.NATS.Embedded.StoreDir.Path, "/var/lib/"+unit["StateDirectory"]; got != want {
		t.Errorf("the store is at %s, and the unit makes %s", got, want)
	}
	if stop, err := time.ParseDuration(unit["TimeoutStopSec"]); err != nil || stop < c.Intake.Grace+drain {
		t.Errorf("%v: the service is killed after %s, and ending may take %s", err, stop, c.Intake.Grace+drain)
	}
	limit, err := strconv.ParseInt(strings.TrimSuffix(unit["MemoryMax"], "M"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	checkMemory(t, c, limit<<20, strings.TrimPrefix(unit["Environment"], "GOMEMLIMIT="))
}

// checkMemory holds memory against what the README's section on performance says.
func checkMemory(t *testing.T, c Config, limit int64, goLimit string) {
	t.Helper()
	if inFlight := int64(c.Limits.InFlightBytes); limit < 2*inFlight {
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

// kubernetesConfig is the configuration with the files of the Secret in a folder
// of the test.
func kubernetesConfig(t *testing.T) Config {
	t.Helper()
	authority, _ := keyPair(t)
	secrets := writeFiles(t, map[string]string{"nats.creds": "x", "myorg-password": "x", "nats-ca.crt": authority})
	text := strings.ReplaceAll(mustRead(t, kubernetesBase+"config.yaml"), secretsFolder, secrets)
	c, err := ParseConfig("config.yaml", []byte(text), none)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kubernetesPod(t *testing.T) corev1.PodSpec {
	t.Helper()
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(mustRead(t, kubernetesBase+"deployment.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec
}
