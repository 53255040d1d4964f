package kubernetes_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is what is used of the type of prometheus-operator, by its
// https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// scaledObject is what is used of KEDA's type, by its
// https://keda.sh/docs/latest/reference/scaledobject-spec/.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int32 `json:"minReplicaCount"`
		MaxReplicaCount int32 `json:"maxReplicaCount"`
		Fallback        struct {
			FailureThreshold int32 `json:"failureThreshold"`
			Replicas         int32 `json:"replicas"`
		} `json:"fallback"`
		Advanced struct {
			HPA struct {
				Behavior struct {
					ScaleDown struct {
						StabilizationWindowSeconds int32 `json:"stabilizationWindowSeconds"`
					} `json:"scaleDown"`
				} `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type     string `json:"type"`
			Metadata struct {
				ServerAddress string `json:"serverAddress"`
				Query         string `json:"query"`
				Threshold     string `json:"threshold"`
			} `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// kustomization is what is used of kustomize's type, by its
// https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/.
type kustomization struct {
	metav1.TypeMeta    `json:",inline"`
	Namespace          string   `json:"namespace"`
	Resources          []string `json:"resources"`
	Components         []string `json:"components"`
	ConfigMapGenerator []struct {
		Name  string   `json:"name"`
		Files []string `json:"files"`
	} `json:"configMapGenerator"`
	Images []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
	Patches []struct {
		Target struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"target"`
		Patch string `json:"patch"`
	} `json:"patches"`
}

// workload is what the service and the bridge have each of their own.
type workload struct {
	Name, Folder, Command string

	Deployment    appsv1.Deployment
	Service       corev1.Service
	Account       corev1.ServiceAccount
	Budget        policyv1.PodDisruptionBudget
	NetworkPolicy networkingv1.NetworkPolicy
	ConfigMap     corev1.ConfigMap // only where kustomize has made it
}

// objects are the manifests.
type objects struct {
	Consumer, Bridge workload
	Namespace        corev1.Namespace
	Monitor          serviceMonitor
	Scaled           scaledObject
}

func newObjects() *objects {
	return &objects{
		Consumer: workload{Name: "omps-consumer", Folder: "base", Command: "run"},
		Bridge:   workload{Name: "omps-consumer-bridge", Folder: "bridge", Command: "bridge"},
	}
}

func (o *objects) workloads() []*workload { return []*workload{&o.Consumer, &o.Bridge} }

// decode adds a manifest. What the type does not know is an error.
func (o *objects) decode(t *testing.T, name string, data []byte) {
	t.Helper()
	var head metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(data, &head); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	w := &o.Consumer
	if strings.HasPrefix(head.Name, o.Bridge.Name) {
		w = &o.Bridge
	}
	known := map[string]any{
		"apps/v1 Deployment": &w.Deployment, "v1 Service": &w.Service, "v1 ServiceAccount": &w.Account, "v1 Namespace": &o.Namespace,
		"v1 ConfigMap": &w.ConfigMap, "policy/v1 PodDisruptionBudget": &w.Budget, "networking.k8s.io/v1 NetworkPolicy": &w.NetworkPolicy,
		"monitoring.coreos.com/v1 ServiceMonitor": &o.Monitor, "keda.sh/v1alpha1 ScaledObject": &o.Scaled,
	}
	into, ok := known[head.APIVersion+" "+head.Kind]
	if !ok {
		t.Fatalf("%s: %s %s is not known here", name, head.APIVersion, head.Kind)
	}
	if object := into.(metav1.Object); object.GetName() != "" {
		t.Fatalf("%s: a second %s beside %s", name, head.Kind, object.GetName())
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// all are the workload's objects as they come into the cluster, by kind.
func (w *workload) all() map[string]metav1.Object {
	return map[string]metav1.Object{
		"Deployment": &w.Deployment, "Service": &w.Service, "ServiceAccount": &w.Account, "PodDisruptionBudget": &w.Budget,
		"NetworkPolicy": &w.NetworkPolicy,
	}
}

// around are the objects that no workload has of its own.
func (o *objects) around() map[string]metav1.Object {
	return map[string]metav1.Object{"ServiceMonitor": &o.Monitor, "ScaledObject": &o.Scaled, "Namespace": &o.Namespace}
}

// read reads every manifest.
func read(t *testing.T) *objects {
	t.Helper()
	o := newObjects()
	for _, name := range files(t) {
		switch filepath.Base(name) {
		case "kustomization.yaml", "config.yaml":
			continue
		}
		data := mustRead(t, name)
		if bytes.Contains(data, []byte("\n---")) {
			t.Errorf("%s holds several documents, and only one would be read here", name)
		}
		o.decode(t, name, data)
	}
	return o
}

// rendered are the objects that `kubectl kustomize` makes of a folder.
func rendered(t *testing.T, folder string) *objects {
	t.Helper()
	o := newObjects()
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(kustomize(t, folder)), -1) {
		o.decode(t, "kubectl kustomize", []byte(document))
	}
	return o
}

// files are the YAML files of the manifests; a user's own folder is not among them.
func files(t *testing.T) []string {
	t.Helper()
	names := []string{"kustomization.yaml"}
	for _, folder := range []string{"base", "bridge", "components", "example"} {
		err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
