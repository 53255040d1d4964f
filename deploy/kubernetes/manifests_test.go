package kubernetes_test

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Everything of a workload has one name and one label, legal ones, and finds the
// pods by it: its own, and not those of the other.
func TestNamesAndSelectors(t *testing.T) {
	t.Parallel()
	o := read(t)
	for _, w := range o.workloads() {
		for kind, object := range w.all() {
			checkName(t, kind, object, w.Name)
		}
		pods := w.Deployment.Spec.Template
		own := map[string]string{nameLabel: w.Name}
		if !maps.Equal(pods.Labels, own) {
			t.Errorf("%s: pods have the labels %v", w.Name, pods.Labels)
		}
		for what, selector := range map[string]*metav1.LabelSelector{
			"Deployment": w.Deployment.Spec.Selector, "PodDisruptionBudget": w.Budget.Spec.Selector, "NetworkPolicy": &w.NetworkPolicy.Spec.PodSelector,
			"spread": pods.Spec.TopologySpreadConstraints[0].LabelSelector, "Service": {MatchLabels: w.Service.Spec.Selector},
		} {
			if selector == nil || !maps.Equal(selector.MatchLabels, own) || len(selector.MatchExpressions) > 0 {
				t.Errorf("%s: %s selects %v", w.Name, what, selector)
			}
		}
		if pods.Spec.ServiceAccountName != w.Account.Name {
			t.Errorf("%s has the account %s", w.Name, pods.Spec.ServiceAccountName)
		}
		if monitored, err := metav1.LabelSelectorAsSelector(&o.Monitor.Spec.Selector); err != nil || !monitored.Matches(labels.Set(w.Service.Labels)) {
			t.Errorf("%v: ServiceMonitor selects %v, which is not the Service %s", err, monitored, w.Name)
		}
	}
	for kind, object := range o.around() {
		checkName(t, kind, object, o.Consumer.Name)
	}
	if got := o.Scaled.Spec.ScaleTargetRef.Name; got != o.Consumer.Deployment.Name {
		t.Errorf("scaled is %s", got)
	}
	// The operator makes a Service's name the label.
	if job := `{job="` + o.Consumer.Service.Name + `"}`; !strings.Contains(o.Scaled.Spec.Triggers[0].Metadata.Query, job) {
		t.Errorf("the ScaledObject asks for %s, and the Service's metrics have %s", o.Scaled.Spec.Triggers[0].Metadata.Query, job)
	}
}

const nameLabel = "app.kubernetes.io/name"

func checkName(t *testing.T, kind string, object metav1.Object, want string) {
	t.Helper()
	if object.GetName() != want || len(validation.IsDNS1123Label(want)) > 0 {
		t.Errorf("%s has the name %q, want %q", kind, object.GetName(), want)
	}
	if kind != "Namespace" && !maps.Equal(object.GetLabels(), map[string]string{nameLabel: want}) {
		t.Errorf("%s %s has the labels %v", kind, want, object.GetLabels())
	}
	if faults := metavalidation.ValidateLabels(object.GetLabels(), field.NewPath("labels")); len(faults) > 0 {
		t.Errorf("%s %s: %v", kind, want, faults)
	}
}

// The one port has one name, by which probes, Service, metrics and network policy
// call it.
func TestPorts(t *testing.T) {
	t.Parallel()
	o := read(t)
	for _, w := range o.workloads() {
		c := container(t, w)
		if len(c.Ports) != 1 || len(validation.IsValidPortName(c.Ports[0].Name)) > 0 || c.Ports[0].ContainerPort != 8080 {
			t.Fatalf("%s: ports %v", w.Name, c.Ports)
		}
		name := c.Ports[0].Name
		used := map[string]string{
			"ServiceMonitor": o.Monitor.Spec.Endpoints[0].Port, "Service": w.Service.Spec.Ports[0].Name,
			"Service's target": w.Service.Spec.Ports[0].TargetPort.StrVal, "NetworkPolicy": w.NetworkPolicy.Spec.Ingress[0].Ports[0].Port.StrVal,
		}
		for what, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil {
				t.Errorf("%s: no probe of %s over http", w.Name, what)
				continue
			}
			used[what] = probe.HTTPGet.Port.StrVal
		}
		for what, got := range used {
			if got != name {
				t.Errorf("%s: %s uses the port %q, which is %q", w.Name, what, got, name)
			}
		}
	}
}

// The Pod Security Standard "restricted", which the example's namespace enforces,
// and what goes beyond it.
func TestPodIsRestricted(t *testing.T) {
	t.Parallel()
	o := read(t)
	if got := o.Namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces %q", got)
	}
	for _, w := range o.workloads() {
		t.Run(w.Name, func(t *testing.T) { checkRestricted(t, w) })
	}
}

func checkRestricted(t *testing.T, w *workload) {
	pod, c := w.Deployment.Spec.Template.Spec, container(t, w)
	yes, no := true, false
	user, mode := int64(65532), int32(0o440)
	want := corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(&want, pod.SecurityContext); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	bounds := corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if diff := cmp.Diff(&bounds, c.SecurityContext); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]*bool{&no, &no, &no}, []*bool{pod.AutomountServiceAccountToken, w.Account.AutomountServiceAccountToken, pod.EnableServiceLinks}); diff != "" {
		t.Errorf("tokens and variables that nobody needs (-want +got):\n%s", diff)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.InitContainers) > 0 {
		t.Errorf("%+v", pod)
	}
	if got := *volume(t, pod, "secrets").Secret.DefaultMode; got != mode {
		t.Errorf("secrets have mode %o, want %o", got, mode)
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}

// The Secret that the README makes has the files that the configuration names,
// and the ConfigMap's file is where the program looks.
func TestMountedFiles(t *testing.T) {
	t.Parallel()
	for _, w := range read(t).workloads() {
		t.Run(w.Name, func(t *testing.T) { checkMounts(t, w) })
	}
}

func checkMounts(t *testing.T, w *workload) {
	pod, c := w.Deployment.Spec.Template.Spec, container(t, w)
	mounts := make(map[string]string) // path by volume
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	var named []string
	for _, file := range namedFiles(configuration(t, w)) {
		if path.Dir(file) != mounts["secrets"] {
			t.Errorf("%s is not a file of the Secret, which is mounted at %s", file, mounts["secrets"])
		}
		named = append(named, path.Base(file))
	}
	if secret := volume(t, pod, "secrets").Secret.SecretName; secret != w.Name {
		t.Errorf("the secrets come from the Secret %s", secret)
	}
	made := madeSecret(t, w.Name)
	slices.Sort(made)
	slices.Sort(named)
	if len(named) == 0 || !slices.Equal(made, named) {
		t.Errorf("the README makes a Secret of %v, and the configuration names %v", made, named)
	}
	if name := volume(t, pod, "config").ConfigMap.Name; name != w.Name {
		t.Errorf("the configuration comes from the ConfigMap %s", name)
	}
	if want := []string{w.Command, "-c", mounts["config"] + "/config.yaml"}; !slices.Equal(c.Args, want) || len(c.Command) > 0 {
		t.Errorf("%v %v, want the image's own entry point with %v", c.Command, c.Args, want)
	}
}

// madeSecret are the keys that the README's command gives the Secret.
func madeSecret(t *testing.T, name string) (keys []string) {
	t.Helper()
	command := regexp.MustCompile(`kubectl create secret generic ` + name + ` (?:\\\n|.)*`).Find(mustRead(t, "../../README.md"))
	for _, word := range strings.Fields(string(command)) {
		if key, isKey := strings.CutPrefix(word, "--from-file="); isKey {
			key, _, _ = strings.Cut(key, "=")
			keys = append(keys, path.Base(key))
		}
	}
	return keys
}

// Out go names, NATS where the configuration has it, and what the workload talks
// to, for which the addresses of a cloud's own service are left out.
func TestEgress(t *testing.T) {
	t.Parallel()
	o := read(t)
	for _, w := range o.workloads() {
		t.Run(w.Name, func(t *testing.T) {
			port := "443"
			if w == &o.Bridge {
				port = brokerPort(t, w)
			}
			checkEgress(t, w, port)
		})
	}
}

func checkEgress(t *testing.T, w *workload, port string) {
	nats, _ := configuration(t, w)["nats"].(map[string]any)
	server, err := url.Parse(fmt.Sprint(nats["url"]))
	if err != nil {
		t.Fatal(err)
	}
	host := strings.Split(server.Hostname(), ".") // SERVICE.NAMESPACE.svc
	var got []string
	for _, rule := range w.NetworkPolicy.Spec.Egress {
		for _, peer := range rule.To {
			to := ""
			if peer.NamespaceSelector != nil {
				to = peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
			}
			if peer.IPBlock != nil {
				to = fmt.Sprint(peer.IPBlock.CIDR, peer.IPBlock.Except)
			}
			for _, p := range rule.Ports {
				got = append(got, fmt.Sprintf("%s %s/%d", to, *p.Protocol, p.Port.IntVal))
			}
		}
	}
	want := []string{
		"kube-system UDP/53", "kube-system TCP/53", "169.254.20.10/32[] UDP/53", "169.254.20.10/32[] TCP/53",
		host[1] + " TCP/" + server.Port(),
		"0.0.0.0/0[169.254.0.0/16] TCP/" + port, "::/0[fd00:ec2::254/128] TCP/" + port,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if types := w.NetworkPolicy.Spec.PolicyTypes; len(types) != 2 || len(w.NetworkPolicy.Spec.Ingress) != 1 || len(w.NetworkPolicy.Spec.Ingress[0].From) != 1 {
		t.Errorf("%v, in: %+v", types, w.NetworkPolicy.Spec.Ingress)
	}
}

// brokerPort is the one port of all brokers in the bridge's configuration.
func brokerPort(t *testing.T, w *workload) (port string) {
	t.Helper()
	var config struct {
		Bridge struct {
			Sources []struct {
				URLs []string `json:"urls"`
			} `json:"sources"`
		} `json:"bridge"`
	}
	if err := yaml.Unmarshal(mustRead(t, w.Folder+"/config.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	for _, source := range config.Bridge.Sources {
		for _, address := range source.URLs {
			broker, err := url.Parse(address)
			if err != nil || broker.Port() == "" || port != "" && broker.Port() != port {
				t.Fatalf("%s: %v, want the port said, and %q of all", address, err, port)
			}
			port = broker.Port()
		}
	}
	return port
}

// namedFiles are the values of all keys below v that name a file.
func namedFiles(v any) (names []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			names = append(names, namedFiles(item)...)
		}
	case map[string]any:
		for key, value := range v {
			if name, isText := value.(string); isText && strings.HasSuffix(key, "_file") {
				names = append(names, name)
			}
			names = append(names, namedFiles(value)...)
		}
	}
	return names
}

func configuration(t *testing.T, w *workload) map[string]any {
	t.Helper()
	var config map[string]any
	if err := yaml.UnmarshalStrict(mustRead(t, w.Folder+"/config.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// One voluntary disruption at a time, and the scaling never goes below what
// survives it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	o := read(t)
	for _, w := range o.workloads() {
		if replicas := *w.Deployment.Spec.Replicas; replicas < 2 || w.Budget.Spec.MaxUnavailable.IntVal != 1 || w.Budget.Spec.MinAvailable != nil {
			t.Errorf("%s: %d replicas, %+v", w.Name, replicas, w.Budget.Spec)
		}
		if u := w.Deployment.Spec.Strategy.RollingUpdate; u.MaxUnavailable.IntVal != 0 || u.MaxSurge.IntVal != 1 {
			t.Errorf("%s: %+v", w.Name, u)
		}
	}
	replicas := *o.Consumer.Deployment.Spec.Replicas
	if s := o.Scaled.Spec; s.MinReplicaCount != replicas || s.Fallback.Replicas != replicas || s.MaxReplicaCount <= replicas {
		t.Errorf("%+v, and the Deployment has %d", s, replicas)
	}
}

func container(t *testing.T, w *workload) corev1.Container {
	t.Helper()
	if n := len(w.Deployment.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers", n)
	}
	return w.Deployment.Spec.Template.Spec.Containers[0]
}

func volume(t *testing.T, pod corev1.PodSpec, name string) corev1.Volume {
	t.Helper()
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no volume %s", name)
	return corev1.Volume{}
}
