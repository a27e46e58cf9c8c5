// The depth from which each cell of CELL x CELL pixels may march: a cone around the whole cell.
uniform vec4 uCam;
uniform vec2 uSize;
uniform float uCell;
out vec4 outColour;

void main() {
    vec2 uv = (gl_FragCoord.xy * uCell - .5 * uSize) / (.5 * uSize.y);
    vec3 ro = vec3(uCam.xy, uCam.z), rd = normalize(vec3(uv * uCam.w, -uCam.z));
    float wide = (uCell + 2.) * .7072 / (.5 * uSize.y) * uCam.w / uCam.z;
    float t = uCam.z - 2.6, far = uCam.z + 1.6;
    for (int i = 0; i < 48; i++) {
        float d = map(ro + rd * t) - wide * t;
        if (d < .004 || t > far) break;
        t += d * .88;
    }
    outColour = vec4(t > far ? 0. : t - .01);
}
