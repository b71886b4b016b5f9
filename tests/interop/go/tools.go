//go:build tools

package main

import _ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
