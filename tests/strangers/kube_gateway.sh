# "Generating a token", "Get the JWT signed token" and "Use the token" of docs/token.md of
# https://github.com/kubevirt-ui/kube-gateway-operator (Apache-2.0), line by line. Two lines differ: token and apipath.

# Set the VM name
vm=testvm
# Set the VM namespace (the virtual machine must be in the same namespace as the proxy)
ns=gateway-example

# Generate the VNC subresource path
path=/apis/subresources.kubevirt.io/v1/namespaces/$ns/virtualmachineinstances/$vm/vnc

# Get the admin user's k8s bearer token and the k8s API path.
token=$GATE_ACCESS_TOKEN
apipath=$GATE_SERVER/apis/kubegateway.kubevirt.io/v1beta1/namespaces/$ns/gatetokens

# Get the name of the secret holding the private key for signing the gatetoken
secret_name=$(oc get secrets -n $ns -o name | grep jwt-secret | cut -d "/" -f2)

# Generate a unique gatetoken name
date=$(date "+%y%m%d%H%M")
name=$vm-$date

# Create the gatetoken resource
data="{\"apiVersion\":\"kubegateway.kubevirt.io/v1beta1\",\"kind\":\"GateToken\",\"metadata\":{\"name\":\"$name\",\"namespace\":\"$ns\"},\"spec\":{\"secret-name\":\"$secret_name\",\"urls\":[\"$path\"]}}"

# Call the k8s API using admin credentials to create a new gatetoken
curl -k -H 'Accept: application/json' -H "Authorization: Bearer $token" -H "Content-Type: application/json" --request POST --data $data $apipath

# Get the token resource
curl -k -H 'Accept: application/json' -H "Authorization: Bearer $token" $apipath/$name

# Get the JWT from the gatetoken resource using admin credentials
jwt=$(curl -k -H 'Accept: application/json' -H "Authorization: Bearer $token" $apipath/$name | jq .status.token)

# The proxy URL is set in the gateserver spec.
proxyurl=https://$(oc get gateserver -o json | jq -r .items[0].spec.route)

# The link is signed using ${jwt} and will access the k8s API at ${path}.
signed_link="${proxyurl}/auth/jwt/set?token=${jwt}&name=${vm}&namespace=${ns}"

# Users holding the signed link will be able to use it for 1 hour.

# Open the link in a browser
google-chrome "${signed_link}"
