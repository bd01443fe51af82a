# METADATA
# title: Residency
# description: Data of a class, at home in one zone, may be processed only in the zones that configuration names.
# custom:
#   owners: [security, privacy]
package broker.residency

# METADATA
# title: What is configured here
config := data.config.residency

# METADATA
# title: Data without a region of its own is at home where the tenant is
# scope: document
home := data.broker.lib.tenant.home if input.resource.type in config.home_of_tenant

home := config.regions[input.resource.region] if not homeless

# METADATA
# title: The resource stands for data of the tenant, not for a place
homeless if input.resource.type in config.home_of_tenant

# METADATA
# title: Where the data would be processed
# scope: document
places contains {"what": "endpoint", "region": input.context.endpoint.region} if not model_call

places contains {"what": "model", "region": input.context.model.region} if model_call

# METADATA
# title: The data goes to a model
model_call if input.action.name in data.config.models.calls

# METADATA
# title: Zones where data of a class may be processed
zones[class] := config.classes[class][home] if some class in input.action.data_classes

# METADATA
# title: Zones where all of the data may be processed
shared := intersection({{zone | some zone in allowed} | some allowed in zones}) if count(zones) == count(classes)

# METADATA
# title: Regions where all of the data may be processed
regions contains region if {
	some region, zone in config.regions
	shared[zone]
}

# METADATA
# title: The duty that the broker checks on the endpoint it really uses
obligation := {"regions": regions, "data_classes": classes} if count(classes) > 0

# METADATA
# title: Classes of the data, each once
classes contains class if some class in input.action.data_classes

# METADATA
# title: Classes that the provider may see
cleared contains class if some class in data.config.providers[input.context.model.provider].data_classes

# METADATA
# title: A class of the data is not configured
# custom:
#   reason: residency.class_unknown
deny contains {"code": "residency.class_unknown", "params": {"class": class}} if {
	some class in classes
	not config.classes[class]
}

# METADATA
# title: Nobody knows where the data is at home
# custom:
#   reason: residency.home_unknown
deny contains {"code": "residency.home_unknown", "params": {}} if {
	count(classes) > 0
	not home
}

# METADATA
# title: Nobody knows where the data would be processed
# custom:
#   reason: residency.region_unknown
deny contains {"code": "residency.region_unknown", "params": {"what": place.what}} if {
	count(classes) > 0
	some place in places
	region := place.region
	not config.regions[region]
}

# METADATA
# title: Data of this class may not be processed there
# custom:
#   reason: residency.region_forbidden
deny contains {"code": "residency.region_forbidden", "params": {"class": class, "home": home, "what": place.what}} if {
	some class, allowed in zones
	some place in places
	zone := config.regions[place.region]
	not zone in allowed
}

# METADATA
# title: The provider of the model may not see data of this class
# custom:
#   reason: residency.provider_forbidden
deny contains {"code": "residency.provider_forbidden", "params": {"class": class}} if {
	model_call
	some class in classes
	not cleared[class]
}
