rule report:
    input: []
