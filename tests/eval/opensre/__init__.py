"""The prose of given model responses, typed and falsified: what does the gate accept, what does it refuse?"""
