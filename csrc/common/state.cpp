// What this module was built from, to be read from its file: contextual_attention/extension.py looks for it
// there before it loads the module.
namespace contextual_attention {

extern const char kState[];
const char kState[] = CA_STATE;

}  // namespace contextual_attention
