// Package koji reads builds from a Koji hub over XML-RPC, and the files of
// builds from the server that holds them.
package koji
