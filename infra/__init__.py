"""The Pulumi program: the one declaration of the cloud, which the local cloud is built from too."""
