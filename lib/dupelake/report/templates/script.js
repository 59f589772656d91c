(() => {
"use strict";
{% include "dom.js" %}
{% include "data.js" %}
{% include "list.js" %}
{% include "detail.js" %}
{% include "app.js" %}
})();
