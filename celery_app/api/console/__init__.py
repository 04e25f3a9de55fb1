"""The web console: pages for people, made on the server, by the verbs that the API has as well."""
